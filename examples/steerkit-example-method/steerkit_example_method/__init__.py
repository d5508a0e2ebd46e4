"""A steering method that lives outside of steerkit."""
