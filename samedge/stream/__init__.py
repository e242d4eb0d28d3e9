"""Sources of frames, prompts that follow them, and sinks for the masks.

    source -> frame -> session -> sinks

One file per thing: `sources` (what a path is), `images`, `video`, `dicom`, `dicom_series`, `nifti`,
`numpy_files` (how it is read), `intensity` (which values become black and white), `prompts`,
`prompt_file` and `tracking` (what the session is asked), `fitting` (what goes together),
`segmenting` (the loop), `overlay`, `captions`, `contact_sheet`, `mp4`, `label_volume`, `report` and
`sinks` (what comes out).
"""
