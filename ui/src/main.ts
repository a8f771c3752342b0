import "./styles/tokens.css";
import "./styles/base.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { flushAll } from "./lib/stored";

window.addEventListener("pagehide", flushAll);
mount(App, { target: document.getElementById("app")! });
