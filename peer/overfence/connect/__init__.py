"""How this device reaches another one."""
