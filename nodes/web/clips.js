// Clips side by side: as large as their box allows, and in step.

const OUT_OF_STEP = 0.15; // seconds

/** The number of columns in which clips of an aspect (width / height) with captions below are largest. */
export function countColumns(clips, width, height, aspect, caption) {
  let best = { columns: 1, clip: 0 };
  for (let columns = 1; columns <= clips; columns++) {
    const rows = Math.ceil(clips / columns);
    const clip = Math.min(width / columns, (height / rows - caption) * aspect);
    if (clip > best.clip) best = { columns, clip };
  }
  return best.columns;
}

/** Keeps the videos of a list at the time of the first. */
export function playInStep(videos) {
  const [leader, ...others] = videos;
  leader?.addEventListener("timeupdate", () => {
    for (const video of others) {
      if (Math.abs(video.currentTime - leader.currentTime) > OUT_OF_STEP) video.currentTime = leader.currentTime;
    }
  });
}
