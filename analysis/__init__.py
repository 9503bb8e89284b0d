"""Studies that any user could run: they import only what the package offers to everyone."""
