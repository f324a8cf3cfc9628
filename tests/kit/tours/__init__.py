"""One tour of every feature of a server with one of everything, by several clients, in both eras.

A tour gives back what the program that uses the client was told, as JSON: step by step, so that two tours can be
compared. Whether the client speaks to the server or to a gateway must make no difference.
"""
