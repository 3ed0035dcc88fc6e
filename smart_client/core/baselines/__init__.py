"""How others fetch, in the same frame: the same session, nodes and worlds, other decisions.

What the frame gives to all of them alike, and so favours them a little over the originals: rows
that came before a request was given up are kept, a node that failed is left alone for half a second
to eight, and footers (which none of them has) are hurried.
"""
