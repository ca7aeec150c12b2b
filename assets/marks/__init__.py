"""Marks of origin: C2PA manifests read and signed, the platform's certificates, and the watermark in the pixels."""
