"""A web backend on FastAPI: run `uvicorn fastapi_backend.web:app` in the folder above, and workers."""
