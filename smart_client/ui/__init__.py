"""The pages: static files, served by the gateway under ``/ui/``. No build step, no network."""
