"""What a process of Python does around us: it forks, it is interrupted, it pickles, it has so many cores."""
