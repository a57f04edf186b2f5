"""The engines behind the Provider seam; each module holds one."""
