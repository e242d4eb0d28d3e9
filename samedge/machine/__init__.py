"""What this machine is and has left: processor, memory, GPU, Jetson. Only what the system tells."""
