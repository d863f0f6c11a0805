"""What people see, alike in every command: progress, pictures, and a terminal without TensorFlow's messages."""
