"""In front of ``PYTHONPATH`` where tinytrace is not installed; see `tinytrace.tracer.launcher`."""
