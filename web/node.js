// Fills in the public status; without it the page still says what it must.

const REFRESH_MS = 60_000;

/** @param {string} name @param {string} text @param {string} [mood] */
function show(name, text, mood = "") {
  const field = document.querySelector(`[data-field="${name}"]`);
  if (!field) return;
  field.textContent = text;
  field.classList.toggle("good", mood === "good");
  field.classList.toggle("bad", mood === "bad");
}

/** @param {number} hours */
function duration(hours) {
  if (hours < 1) return "less than an hour";
  if (hours < 48) return hours === 1 ? "1 hour" : `${hours} hours`;
  return `${Math.floor(hours / 24)} days`;
}

async function refresh() {
  const plain = /** @type {HTMLElement} */ (document.getElementById("plain-status"));
  const table = /** @type {HTMLElement} */ (document.getElementById("status"));
  try {
    const [answer, ready] = await Promise.all([fetch("status.json"), fetch("readyz")]);
    const status = await answer.json();
    show("ready", ready.ok ? "ready" : "storage doesn’t answer", ready.ok ? "good" : "bad");
    show("version", status.version);
    show("uptime", duration(status.uptime_hours));
    show("connections", status.connections_at_least ? `${status.connections_at_least} or more` : "fewer than 10");
    show("durable", status.durable ? "on disk" : "in memory only");
    show("store", status.store_percent_full ? `about ${status.store_percent_full} %` : "less than 10 %");
    show("node", status.node);
    table.hidden = false;
    plain.hidden = true;
  } catch {
    show("ready", "doesn’t answer", "bad");
  }
}

const server = document.getElementById("server");
if (server) server.textContent = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
refresh();
setInterval(refresh, REFRESH_MS);
