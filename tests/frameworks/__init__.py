"""Stand-ins for three generations of frameworks that students write: each makes a graph in its own way."""
