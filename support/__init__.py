"""What the scripts at the top level stand on: files, command lines, devices, pictures. It need not be read first."""
