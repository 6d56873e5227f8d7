// Gets a session: with the token behind the # of the address, which no browser sends and no log keeps, or asks for it.
const at = (path) => new URL(path, document.baseURI).href;

async function hasSession() {
  return (await fetch(at("api/session"), { credentials: "same-origin" })).ok;
}

// Posts the token once; answers why it was refused, or nothing.
async function exchanged(token) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ token });
  const response = await fetch(at("api/login"), { method: "POST", headers, credentials: "same-origin", body });
  if (response.ok) return "";
  const told = await response.json().catch(() => null);
  return told?.error?.message ?? `the server answered ${response.status}`;
}

// Takes the token out of the address, so that neither the history nor a link that is copied has it.
function fromAddress() {
  const match = /^#token=([^&]*)/.exec(location.hash);
  if (!match) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return decodeURIComponent(match[1]);
}

function ask(home, problem) {
  const form = document.createElement("form");
  const label = document.createElement("label");
  const field = document.createElement("input");
  const button = document.createElement("button");
  const said = document.createElement("p");
  form.className = "login";
  label.append("Token, as `dagcelery ui` has printed it", field);
  field.type = "password";
  field.autocomplete = "off";
  field.required = true;
  button.textContent = "Open";
  said.setAttribute("role", "alert");
  said.textContent = problem;
  form.append(label, button, said);
  home.replaceChildren(form);
  field.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const refused = await exchanged(field.value.trim());
      if (!refused) return resolve();
      said.textContent = refused;
      field.select();
    });
  });
}

// Resolves when there is a session; `home` is where the question may stand.
async function login(home) {
  const token = fromAddress();
  if (await hasSession()) return;
  const problem = token ? await exchanged(token) : "";
  if (token && !problem) return;
  await ask(home, problem);
  home.replaceChildren();
}

export { login };
