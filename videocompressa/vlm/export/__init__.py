"""vlm/export"""
