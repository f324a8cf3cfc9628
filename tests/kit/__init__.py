"""What tests are built of: real sockets, real processes, small fakes for what stands around the gateway."""
