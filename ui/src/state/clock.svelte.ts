/** The time in milliseconds, once a second, for everything that shows how long ago something was. */
export const clock = $state({ now: Date.now() });

setInterval(() => {
  if (!document.hidden) clock.now = Date.now();
}, 1000);
document.addEventListener("visibilitychange", () => {
  clock.now = Date.now();
});
