import daisyui from "daisyui"
import theme from "daisyui/theme"

// Two skins of one instrument: night indigo on cool neutrals. Which one is shown follows the system's preference.
// Every text colour keeps WCAG AA (4.5:1) on base-100, base-200 and its own tint.
const shape = {
  themecontroller: false,
  "--radius-selector": "0.25rem",
  "--radius-field": "0.375rem",
  "--radius-box": "0.5rem",
  "--size-selector": "0.25rem",
  "--size-field": "0.25rem",
  "--border": "1px",
  "--depth": "0",
  "--noise": "0",
}

const light = {
  name: "moonlatch",
  default: true,
  "color-scheme": "light",
  ...shape,
  "--color-base-100": "#ffffff",
  "--color-base-200": "#f6f7fa",
  "--color-base-300": "#e2e4ec",
  "--color-base-content": "#1a1c2b",
  "--color-primary": "#3c3a9a",
  "--color-primary-content": "#ffffff",
  "--color-secondary": "#4a4d61",
  "--color-secondary-content": "#ffffff",
  "--color-accent": "#3c3a9a",
  "--color-accent-content": "#ffffff",
  "--color-neutral": "#2b2d40",
  "--color-neutral-content": "#ffffff",
  "--color-info": "#2a5a9c",
  "--color-info-content": "#ffffff",
  "--color-success": "#176b41",
  "--color-success-content": "#ffffff",
  "--color-warning": "#8a5200",
  "--color-warning-content": "#ffffff",
  "--color-error": "#b3232f",
  "--color-error-content": "#ffffff",
}

const dark = {
  name: "moonlatch-night",
  prefersdark: true,
  "color-scheme": "dark",
  ...shape,
  "--color-base-100": "#14151d",
  "--color-base-200": "#0e0f16",
  "--color-base-300": "#2b2d3b",
  "--color-base-content": "#e6e7f0",
  "--color-primary": "#a3a6f7",
  "--color-primary-content": "#12123a",
  "--color-secondary": "#b3b6c7",
  "--color-secondary-content": "#14151d",
  "--color-accent": "#a3a6f7",
  "--color-accent-content": "#12123a",
  "--color-neutral": "#e6e7f0",
  "--color-neutral-content": "#14151d",
  "--color-info": "#8cb8f5",
  "--color-info-content": "#0b1c33",
  "--color-success": "#67c993",
  "--color-success-content": "#06230f",
  "--color-warning": "#e3b35c",
  "--color-warning-content": "#2a1a00",
  "--color-error": "#ff8d8d",
  "--color-error-content": "#3a0508",
}

/** @type {import("tailwindcss").Config} */
export default {
  content: ["./views/**/*.templ", "./views/**/*.go"],
  plugins: [
    daisyui({ themes: false, logs: false, include: ["button", "checkbox", "radio"] }),
    theme(light),
    theme(dark),
  ],
}
