"""A large model's encoder taught to a small one."""
