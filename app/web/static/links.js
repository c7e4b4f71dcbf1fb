// Addresses of records: what is looked for stands behind the `#`, which stays in the browser.

export const recordHref = (id) => `/operator/records#record=${encodeURIComponent(id)}`;

/** The records that a search finds; `began` and `ended` are Unix times. */
export function recordsHref({ began, ended, ...query }) {
  const range = { since: Math.floor(began), until: Math.ceil(ended) + 1 };
  return `/operator/records#${new URLSearchParams({ ...range, ...query })}`;
}
