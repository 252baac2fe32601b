/* Draws /openapi.json for a reader: operations by capability, each with a command to copy.

   Everything from the document becomes text nodes, never markup. Nothing is sent anywhere. */

const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 8; // of a drawn schema; shapes that contain themselves end here
const field = (id) => document.getElementById(id);

// Building elements ------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null));
  return made;
}

/* Text in which `this` is code, as in the document's descriptions. */
function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

function table(titles, rows) {
  const head = element("tr", {}, titles.map((title) => element("th", { scope: "col" }, title)));
  const body = rows.map((cells) => element("tr", {}, cells.map((cell) => element("td", {}, cell))));
  const whole = element("table", {}, element("thead", {}, head), element("tbody", {}, body));
  return element("div", { class: "scroll" }, whole);
}

function folded(title, text) {
  return element("details", {}, element("summary", {}, title), element("pre", { tabindex: "0" }, text));
}

// Schemas as text --------------------------------------------------------------------------------------

/* One schema in a form like TypeScript's; `name?` marks members that may be missing. */
function shape(schema, shapes, depth = 0) {
  if (schema === undefined || schema === true) return "any";
  if (depth > MAX_DEPTH) return "...";
  if (schema.$ref) return shape(shapes[schema.$ref.split("/").at(-1)], shapes, depth);
  const choices = schema.oneOf || schema.anyOf;
  if (choices) return choices.map((choice) => shape(choice, shapes, depth)).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.properties) return members(schema, shapes, depth);
  if (schema.items) return `[${shape(schema.items, shapes, depth)}, ...]`;
  return [schema.type ?? "any"].flat().join(" | ") + limits(schema);
}

function members(schema, shapes, depth) {
  const indent = "  ".repeat(depth + 1);
  const lines = Object.entries(schema.properties).map(([name, member]) => {
    const mark = schema.required?.includes(name) ? "" : "?";
    return `${indent}${name}${mark}: ${shape(member, shapes, depth + 1)}\n`;
  });
  const orNull = [schema.type].flat().includes("null") ? " | null" : "";
  return `{\n${lines.join("")}${"  ".repeat(depth)}}${orNull}`;
}

function limits(schema) {
  const found = [
    schema.format,
    "minimum" in schema ? `from ${schema.minimum}` : "",
    "maximum" in schema ? `to ${schema.maximum}` : "",
    "maxLength" in schema ? `at most ${schema.maxLength} characters` : "",
    "pattern" in schema ? `matches ${schema.pattern}` : "",
    "default" in schema ? `default ${JSON.stringify(schema.default)}` : "",
  ].filter(Boolean);
  return found.length ? ` (${found.join(", ")})` : "";
}

// The command ------------------------------------------------------------------------------------------

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/* The content to show first: the one with an example, else the first. */
function firstContent(operation) {
  const contents = Object.entries(operation.requestBody?.content ?? {});
  return contents.find(([, content]) => "example" in content) ?? contents[0];
}

function exampleText(content) {
  const { example } = content;
  return typeof example === "string" ? example : JSON.stringify(example, null, 2);
}

/* What fills a parameter: its example or its first allowed value, else its name in capitals. */
function filling(parameter) {
  if (parameter.name === "project_id") return field("project").value || "1";
  return String(parameter.example ?? parameter.schema?.enum?.[0] ?? parameter.name.toUpperCase());
}

function address(path, operation) {
  const parameters = operation.parameters ?? [];
  const filled = path.replace(/\{(\w+)\}/g, (_, name) =>
    filling(parameters.find((parameter) => parameter.name === name) ?? { name }),
  );
  const required = parameters.filter((parameter) => parameter.in === "query" && parameter.required);
  const query = required.map((parameter) => `${parameter.name}=${encodeURIComponent(filling(parameter))}`);
  return location.origin + filled + (query.length ? `?${query.join("&")}` : "");
}

function command(path, method, operation) {
  const lines = [`curl -sS -X ${method.toUpperCase()} ${quoted(address(path, operation))}`];
  if (operation["x-scopes"]) lines.push('-H "Authorization: Bearer $TRACEGIST_KEY"');
  for (const parameter of operation.parameters ?? []) {
    if (parameter.in === "header" && parameter.required) {
      lines.push(`-H ${quoted(`${parameter.name}: ${filling(parameter)}`)}`);
    }
  }
  const [type, content] = firstContent(operation) ?? [];
  if (type) {
    lines.push(`-H ${quoted(`Content-Type: ${type}`)}`);
    lines.push(`--data-binary ${"example" in content ? quoted(exampleText(content)) : "@FILE"}`);
  }
  return lines.join(" \\\n  ");
}

function commandBlock(path, method, operation) {
  const text = element("pre", { tabindex: "0" });
  const write = () => { text.textContent = command(path, method, operation); };
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", () => copy(text, button));
  field("project").addEventListener("input", write);
  write();
  return element("div", { class: "command" }, text, button);
}

/* The clipboard is closed to pages without TLS, except on the own machine: then the text is selected. */
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// One operation ----------------------------------------------------------------------------------------

function parameterRows(operation) {
  return (operation.parameters ?? []).map((parameter) => [
    element("code", {}, parameter.name),
    parameter.in,
    parameter.required ? "yes" : "no",
    element("code", {}, shape(parameter.schema, {})),
    prose(parameter.description ?? ""),
  ]);
}

function requestPart(operation, shapes) {
  return Object.entries(operation.requestBody?.content ?? {}).flatMap(([type, content]) => [
    element("p", {}, element("code", {}, type)),
    "example" in content ? element("pre", { tabindex: "0" }, exampleText(content)) : null,
    folded("Fields", shape(content.schema, shapes)),
  ]);
}

function answerRows(operation, shapes, isError) {
  const chosen = Object.entries(operation.responses).filter(([status]) => status >= "400" === isError);
  return chosen.map(([status, answer]) => [
    element("code", {}, status),
    [
      ...prose(answer.description ?? ""),
      ...Object.entries(answer.content ?? {}).map(([type, content]) =>
        isError ? null : folded(type, shape(content.schema, shapes)),
      ),
    ],
  ]);
}

function part(title, ...content) {
  return [element("h3", {}, title), ...content];
}

function scopes(operation) {
  const named = operation["x-scopes"];
  if (!named) return ["No key needed."];
  return named.flatMap((scope) => [scope.includes(":") ? element("code", {}, scope) : scope, " "]);
}

function details({ path, method, operation }, shapes) {
  const described = (operation.description ?? "").split("\n\nScopes:")[0];
  const told = described.startsWith("Scopes:") ? "" : described; // the scopes have a part of their own
  const parameters = parameterRows(operation);
  const request = requestPart(operation, shapes);
  const errors = answerRows(operation, shapes, true);
  return element(
    "div",
    {},
    told ? element("p", {}, prose(told)) : null,
    part("Scopes", element("p", {}, scopes(operation))),
    parameters.length ? part("Parameters", table(["Name", "In", "Required", "Type", ""], parameters)) : null,
    request.length ? part("Request", request) : null,
    part("Answers", table(["Status", ""], answerRows(operation, shapes, false))),
    errors.length ? part("Errors", table(["Status", ""], errors)) : null,
    errors.length ? element("p", {}, element("a", { href: "#error-body" }, "The body of every error")) : null,
    part("curl", commandBlock(path, method, operation)),
  );
}

/* The block of one operation; its inside is drawn when it is first opened. */
function operationBlock(entry, shapes) {
  const { path, method, operation } = entry;
  const title = element(
    "summary",
    {},
    element("span", { class: `method ${method}` }, method),
    element("code", {}, path),
    element("span", { class: "title" }, operation.summary ?? ""),
  );
  const block = element("details", { class: "operation", id: operation.operationId }, title);
  const draw = () => block.append(details(entry, shapes));
  block.addEventListener("toggle", draw, { once: true });
  return block;
}

function errorSection(shapes) {
  const example = {
    type: "validation_error",
    code: "required",
    detail: "This field is required.",
    attr: "summarize_type",
  };
  return element(
    "section",
    { id: "error-body" },
    element("h2", {}, "Errors"),
    element("p", {}, prose("Every status from 400 on has this body; `attr` names the field that is wrong, or is null.")),
    element("pre", { tabindex: "0" }, JSON.stringify(example, null, 2)),
    folded("Fields", shape(shapes.Error, shapes)),
  );
}

// The whole page ---------------------------------------------------------------------------------------

/* Operations in the order of the document, as {path, method, operation, words}. */
function entriesOf(openapi) {
  return Object.entries(openapi.paths).flatMap(([path, operations]) =>
    METHODS.filter((method) => method in operations).map((method) => {
      const operation = operations[method];
      const names = (operation.parameters ?? []).map((parameter) => parameter.name);
      const told = [method, path, operation.summary, operation.description, operation["x-scopes"], names];
      return { path, method, operation, words: told.flat().join(" ").toLowerCase() };
    }),
  );
}

function drawCapability(tag, entries, shapes) {
  const title = tag.description ?? tag.name;
  const section = element("section", { id: `capability-${tag.name}` }, element("h2", {}, title));
  const list = element("ul");
  for (const entry of entries) {
    entry.block = operationBlock(entry, shapes);
    const link = element("a", { href: `#${entry.operation.operationId}` }, entry.operation.summary ?? entry.path);
    entry.item = element("li", {}, link);
    section.append(entry.block);
    list.append(entry.item);
  }
  const heading = element("a", { href: `#${section.id}` }, element("strong", {}, title));
  const contents = element("div", {}, heading, list);
  field("operations").append(section);
  field("contents").append(contents);
  return { entries, parts: [section, contents] };
}

function filter(capabilities) {
  const asked = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { entries, parts } of capabilities) {
    const fitting = entries.filter((entry) => asked.every((word) => entry.words.includes(word)));
    for (const entry of entries) {
      entry.block.hidden = entry.item.hidden = !fitting.includes(entry);
    }
    for (const piece of parts) piece.hidden = fitting.length === 0;
    shown += fitting.length;
  }
  field("status").textContent = `${shown} ${shown === 1 ? "operation" : "operations"}`;
}

function listenToKeys(capabilities) {
  const search = field("search");
  search.addEventListener("input", () => filter(capabilities));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      search.value = "";
      filter(capabilities);
    }
    if (event.key === "Enter") document.querySelector(".operation:not([hidden]) > summary")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
  });
}

/* Opens what the address names, so that links to one operation can be passed on. */
function openNamed() {
  const named = field(decodeURIComponent(location.hash.slice(1)));
  if (!named) return;
  if (named.matches("details")) named.open = true;
  named.scrollIntoView();
}

/* What outlives the page, where the browser allows it. */
function memory() {
  try {
    return localStorage;
  } catch {
    return {};
  }
}

function keepTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = memory();
  if (kept.theme) root.dataset.theme = kept.theme;
  field("theme").addEventListener("click", () => {
    const current = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = current === "dark" ? "light" : "dark";
    kept.theme = root.dataset.theme;
  });
}

async function readDocument() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

async function start() {
  keepTheme();
  field("status").textContent = "Reading the document ...";
  let openapi;
  try {
    openapi = await readDocument();
  } catch (error) {
    field("status").textContent = `The document at /openapi.json cannot be read: ${error.message}.`;
    return;
  }
  const shapes = openapi.components?.schemas ?? {};
  const entries = entriesOf(openapi);
  const capabilities = openapi.tags.map((tag) =>
    drawCapability(tag, entries.filter((entry) => entry.operation.tags.includes(tag.name)), shapes),
  );
  field("operations").append(errorSection(shapes));
  listenToKeys(capabilities);
  filter(capabilities);
  addEventListener("hashchange", openNamed);
  openNamed();
}

start();
