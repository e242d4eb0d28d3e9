"""What a session is asked about a frame: points and boxes, their files, and how they follow."""
