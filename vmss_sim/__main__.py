"""`python -m vmss_sim` is `vmss-sim`."""

from vmss_sim.cli.main import main

if __name__ == "__main__":
    main()
