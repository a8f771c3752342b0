/** Whether the daemon has said that it does not monitor: then the page has no place in the navigation. */
export const performance = $state({ disabled: false });
