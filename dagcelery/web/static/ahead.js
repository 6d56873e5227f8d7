// Asks for the run that the URL names before the rest of the page has come.
import { ahead, run } from "./api.js";
import { parsed } from "./route.js";

const { page, name } = parsed(location.hash);
if (page === "run") ahead(run(name));
