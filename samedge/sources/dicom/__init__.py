"""DICOM: single frames, cine loops, multi-frame volumes and series, read by pydicom."""
