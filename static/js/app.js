// What a page can do beyond its forms and links. Everything works without this file; it only makes things swift.
import htmx from "htmx.org"

window.htmx = htmx

const find = (selector, from = document) => from.querySelector(selector)
const all = (selector, from = document) => [...from.querySelectorAll(selector)]

// Said to people who can't see what changed.
const announce = (text) => {
  const region = find("#announce")
  if (!region || !text) return
  region.textContent = ""
  setTimeout(() => (region.textContent = text), 50)
}

// --- The dialog: htmx fetches #dialog into the one <dialog> of the page, and here it is opened. ---

const modal = () => find("dialog.modal")
const showsKey = () => all("[data-plaintext]").some((node) => node.textContent !== "")
let opener = null

const showDialog = (content) => {
  const dialog = modal()
  if (dialog?.contains(content)) {
    dialog.setAttribute("closedby", "keepOpen" in content.dataset ? "none" : "closerequest")
    if (!dialog.open) {
      opener ??= document.activeElement
      dialog.showModal()
    }
    dialog.scrollTop = 0
  }
  const first = find("[data-problems]", content) ?? find("[autofocus]", content) ?? find("h1", content)
  first?.focus()
}

const forgetKey = () => {
  for (const node of all("[data-plaintext]")) {
    node.textContent = ""
    node.removeAttribute("value")
  }
}

// dialog's own events don't bubble: they are heard on the way down.
document.addEventListener("cancel", (event) => {
  if (event.target === modal() && showsKey()) event.preventDefault()
}, true)

document.addEventListener("close", (event) => {
  if (event.target !== modal()) return
  if (showsKey()) return modal().showModal() // a browser that closes it all the same does not lose the key
  find("#dialog", modal()).replaceChildren()
  const back = opener?.isConnected ? opener : find("main h1")
  opener = null
  back?.focus()
}, true)

// A menu closes when its entry opens the dialog; focus then belongs to the menu's button.
document.addEventListener("htmx:before:request", (event) => {
  const menu = event.target.closest?.("[popover]")
  if (!menu) return
  opener = find(`[popovertarget="${menu.id}"]`)
  menu.hidePopover()
})

// --- The key is shown once: it leaves the document with the page, and before a browser keeps the page for Back. ---

window.addEventListener("pagehide", forgetKey)
window.addEventListener("beforeunload", (event) => {
  if (showsKey()) event.preventDefault() // a slip of the finger shall not lose it
})

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]")
  if (copy) return copyText(copy)
  if (event.target.closest("[data-forget]")) return forgetKey()
  const close = event.target.closest("[data-close]")
  if (close && modal()?.open && modal().contains(close)) {
    event.preventDefault()
    modal().close()
  }
})

const copyText = async (button) => {
  const source = button.previousElementSibling
  try {
    await navigator.clipboard.writeText(source.textContent)
  } catch {
    getSelection().selectAllChildren(source)
    announce("Copying was not possible. The text is selected: copy it by hand.")
    return
  }
  announce("Copied")
  const drawing = find("use", button)
  const draw = (icon) => drawing.setAttribute("href", drawing.getAttribute("href").replace(/#.*/, icon))
  button.dataset.copied = ""
  draw("#check")
  setTimeout(() => {
    delete button.dataset.copied
    draw("#copy")
  }, 2000)
}

// --- Menus: arrow keys move between the entries. The browser opens, closes and places them. ---

document.addEventListener("toggle", (event) => {
  if (event.newState === "open" && event.target.matches(".menu")) find("a, button, select", event.target)?.focus()
}, true)

document.addEventListener("keydown", (event) => {
  const menu = event.target.closest?.(".menu:not(.panel)")
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
  if (!menu || !(step || event.key === "Home" || event.key === "End")) return
  event.preventDefault()
  const entries = all("a, button", menu)
  const at = entries.indexOf(document.activeElement)
  const next = event.key === "Home" ? 0 : event.key === "End" ? -1 : (at + step) % entries.length
  entries.at(next).focus()
})

// --- Several keys at once. ---

const picks = () => all("tbody input[name=id]")

const countPicks = () => {
  const chosen = picks().filter((box) => box.checked).length
  const whole = find("[data-pick-all]")
  if (whole) {
    whole.checked = chosen > 0 && chosen === picks().length
    whole.indeterminate = chosen > 0 && !whole.checked
  }
  for (const node of all("[data-picked]")) node.textContent = `${chosen} selected`
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-pick-all]")) for (const box of picks()) box.checked = event.target.checked
  if (event.target.closest("form#chosen")) countPicks()
  const more = event.target.closest("[data-opens]") // a radio that brings a field with it
  if (more?.checked && event.target === more) find(more.dataset.opens)?.focus()
})

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-pick-none]")) return
  for (const box of picks()) box.checked = false
  countPicks()
  find("[data-pick-all]")?.focus()
})

// --- A threshold's level, as it is typed. ---

document.addEventListener("input", ({ target: { dataset, value, nextElementSibling: word } }) => {
  if (!dataset.threshold) return
  const [low, moderate] = dataset.threshold.split(" ")
  word.textContent = !/^ *\d{1,3} *$/.test(value) || value > 100 ? "" : +value <= low ? "Low" : +value <= moderate ? "Moderate" : "High"
})

// --- Times in the viewer's zone. ---

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" })
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" })

const localise = (root) => {
  for (const node of all("time[datetime]", root)) {
    const at = new Date(node.dateTime)
    if (isNaN(at)) continue
    if (node.title) node.title = exact.format(at)
    if ("local" in node.dataset) node.textContent = short.format(at)
  }
}

// --- A day in the viewer's zone. ---

// A form that asks for the last day of a key says UTC, until here the viewer's zone takes its place: in what the server gets, in
// the hint, and in the days that can be chosen. A form that comes back from the server has its zone already.
const { timeZone } = short.resolvedOptions()
const longDay = new Intl.DateTimeFormat(undefined, { dateStyle: "long" })
const dayOf = (at) => [String(at.getFullYear()).padStart(4, "0"), at.getMonth() + 1, at.getDate()].map((n) => String(n).padStart(2, "0")).join("-")

const inZone = (root) => {
  for (const zone of all("input[name=zone]", root)) {
    if (zone.value || !timeZone) continue
    const { form } = zone
    const day = form.elements.expiresDate
    const { bound, ends } = day.dataset
    zone.value = timeZone
    for (const word of all("[data-zone]", form)) word.textContent = timeZone
    const last = new Date(bound)
    const end = new Date(last)
    if (end.setHours(23, 59, 59, 0) > +last) last.setDate(last.getDate() - 1)
    day.min = dayOf(new Date())
    day.max = dayOf(last)
    if (ends && day.value === day.defaultValue) day.value = dayOf(new Date(new Date(ends) - 1))
    for (const word of all("[data-last-day]", form)) word.textContent = longDay.format(last)
  }
}

// --- What htmx brings. ---

// An address of a list says what was chosen, not what was left empty.
document.addEventListener("htmx:config:request", (event) => {
  const { request } = event.detail.ctx
  if (request.method !== "GET" || !request.body) return
  for (const [name, value] of [...request.body]) if (value === "") request.body.delete(name)
})

document.addEventListener("htmx:after:swap", (event) => {
  const target = event.detail.ctx.target
  const id = typeof target === "string" ? target.slice(1) : target?.id
  const fresh = id && document.getElementById(id)
  if (!fresh) return
  localise(fresh)
  inZone(fresh)
  countPicks()
  if (id === "dialog") showDialog(fresh)
  else announce(find("[data-announce]", fresh)?.textContent.trim())
})

// A request that came to nothing leaves the page as it is, and says so: in the dialog too, which covers the page.
const outage = (is) => {
  for (const note of all(".outage")) note.hidden = !is
}
document.addEventListener("htmx:error", () => outage(true))
document.addEventListener("htmx:response:error", (event) => {
  if (event.detail.ctx.response.status >= 500) outage(true)
})
document.addEventListener("htmx:before:request", () => outage(false))

// --- At the start. ---

localise(document)
inZone(document)
countPicks()
find("[data-problems]")?.focus()
announce(find("main > [role=status]")?.textContent.trim()) // what a page begins with counts as no news

// A year of which a digit was typed is no day to look for yet.
document.addEventListener("change", (event) => {
  if (event.target.type === "date" && !event.target.validity.valid) event.stopPropagation()
}, true)

// --- A whole key that is pasted into the search shall not travel in an address: its signature finds it as well. ---

document.addEventListener("input", (event) => {
  if (event.target.id !== "q") return
  const text = event.target.value.normalize("NFKD").replace(/[\p{C}\p{M}\p{Z}\s\u115F\u1160\u2800]/gu, "") // what shows nothing may hide a key
  const key = text.match(/pk_(?:live|test)_[0-9A-Za-z]{12}[_:][0-9A-Za-z]{32}([0-9A-Za-z]{6})/)
  if (key) event.target.value = key[1]
}, true)
