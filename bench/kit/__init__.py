"""The driver of the comparison kit; see bench/README.md."""
