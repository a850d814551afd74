"""Style transfer for clips.

Library use, with a network from `cvtool.models.loader.load`:

    clip = open_clip("clip.mp4")
    job = Job(clip, (style,), StylizeOptions(), VideoOptions(), None, Path("out.mp4.frames"))
    paint_clip(job, model)
    write_clip("out.mp4", finished_frames(job), clip)
"""
