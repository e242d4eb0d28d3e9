"""Where masks go: a folder of pictures, video, reports, label volumes."""
