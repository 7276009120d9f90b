"""Jobs of several ranks, real ones and ones made by hand."""
