"""What is run by tests in processes of their own is not collected."""

collect_ignore = ["jax_devices.py"]
