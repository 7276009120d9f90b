"""A `Trace` written as a file that another program opens."""
