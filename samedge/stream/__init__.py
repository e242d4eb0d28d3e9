"""Sources of frames, prompts that follow them, and sinks for the masks.

    source -> frame -> session -> sinks

One file per thing: `sources` (what a path is), `images`, `video`, `dicom` (how it is read),
`prompts` and `tracking` (what the session is asked), `segmenting` (the loop), `overlay`,
`contact_sheet`, `mp4`, `report` and `sinks` (what comes out).
"""
