"""What looks after stored fragments: repairs, moves, lays out anew and collects them."""
