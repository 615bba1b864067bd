# SPDX-License-Identifier: GPL-3.0-or-later
"""What the callback plugin `progress` is made of, free of Ansible."""
