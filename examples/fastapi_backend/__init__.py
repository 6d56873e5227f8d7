"""A web backend on FastAPI: `uvicorn fastapi_backend.web:app` in the folder above, with workers beside it."""
