"""The session core under virtual time, against nodes modelled as fluid flows."""
