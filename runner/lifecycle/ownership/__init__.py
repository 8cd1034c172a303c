"""To whom an experiment belongs: leases kept, claims recorded, the client's own object."""
