"""The parts that the scripts at the top level stand on: files, command lines, devices, pictures."""
