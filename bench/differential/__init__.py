"""Do the SDKs behind the gateway understand what the gateway decided on? Or nothing at all; never anything else."""
