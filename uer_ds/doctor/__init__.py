"""What `uer-ds doctor` looks at before a long run: machines, network, disks, dataset, two updates."""
