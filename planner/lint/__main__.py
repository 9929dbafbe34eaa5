"""`python -m planner.lint > docs/lint.md`."""

from planner.lint.page import page

if __name__ == "__main__":
    print(page(), end="")
