"""One file per library whose operations are recorded; each is installed when the program imports it."""
