"""Host: what the processes of one host share, and what its people write by hand.

Rule of this room: it is the only one that touches mmap, fcntl and file locks. It
looks at nobody else of the house.

`addresses` tells whether one is taken. `files` opens private files. `file_lock` is a
lock that one process holds at a time.
`shared_file` is a file that several processes use, gone with the last of them.
`forks` tells those who live through a fork. `toml_text` reads a TOML file with its
lines and its mistakes, and `toml_words` has the words for these.
"""
