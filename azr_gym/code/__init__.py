"""The code room: programs, inputs and outputs, proposed and solved."""
