"""What happens while the program runs: hooks and a sampling thread write records into a store."""
