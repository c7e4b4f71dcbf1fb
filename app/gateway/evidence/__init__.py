"""What the records prove: why chats went wrong, and what another choice had done.

Everything here is a fold over records that are there; nobody is asked anything.
"""
