"""vlm/tune"""
